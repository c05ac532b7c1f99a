# Pinned files. Each is a fixed-output derivation: its store path follows from its name and hash alone, so a file
# that any machine or cache has is never fetched, and a mirror changes nothing that is built from it.
{
  system,
  names,
  mirrors,
  urls,
  # The URL of the folder of NVIDIA's redistributables.
  redistributables,
}:
let
  # Type: file :: { name :: String, sha256 :: String, url :: String or null } -> Derivation
  file =
    {
      name,
      sha256,
      url,
    }:
    derivation {
      name = names.storeName name;
      system = "builtin";
      builder = "builtin:fetchurl";
      # Nix fails on such a URL when the file is in no store: that message is then the one line the user needs.
      url =
        if urls ? ${sha256} then
          urls.${sha256}
        else if url != null then
          url
        else
          "file:///this-lock-has-no-url/run-builder-build-to-find-the-file/${names.storeName name}";
      outputHashMode = "flat";
      outputHashAlgo = "sha256";
      outputHash = sha256;
      executable = false;
      unpack = false;
      preferLocalBuild = true;
      impureEnvVars = [
        "http_proxy"
        "https_proxy"
        "ftp_proxy"
        "all_proxy"
        "no_proxy"
      ];
    };
in
{
  # A wheel, by its file name and hash. `name` and `version` are the project's; `url` is a hint, null when the lock
  # has none.
  #
  # Type: wheel :: { name, version, filename, sha256 :: String, url :: String or null } -> AttrSet
  wheel =
    {
      name,
      version,
      filename,
      sha256,
      url ? null,
      direct ? null,
    }:
    {
      inherit
        name
        version
        filename
        direct
        ;
      file = file {
        name = filename;
        inherit sha256 url;
      };
    };

  # The archive that a package is built from, by its file name and hash.
  #
  # Type: sdist :: { filename, sha256 :: String, url :: String or null } -> Derivation
  sdist =
    {
      filename,
      sha256,
      url ? null,
    }:
    file {
      name = filename;
      inherit sha256 url;
    };

  # A folder of source, such as a commit's files, by the hash of its NAR. The command puts it into the store; where it
  # is missing, the failing derivation says what to do.
  #
  # Type: tree :: { name, sha256 :: String } -> Derivation
  tree =
    { name, sha256 }:
    derivation {
      name = names.storeName name;
      inherit system;
      builder = "/run-builder-build-once-to-put-this-source-into-this-store";
      outputHashMode = "recursive";
      outputHashAlgo = "sha256";
      outputHash = sha256;
    };

  # A Rust crate's archive, by the hash that Cargo.lock has of it.
  #
  # Type: crate :: { name, version, sha256 :: String, url :: String or null } -> AttrSet
  crate =
    {
      name,
      version,
      sha256,
      url ? null,
    }:
    {
      inherit name version sha256;
      file = file {
        name = "${name}-${version}.crate";
        inherit sha256 url;
      };
    };

  # A Debian package, by its path in an archive's pool. The archive's place is the machine's own matter (`mirrors`).
  #
  # Type: deb :: { archive, path, sha256 :: String } -> Derivation
  deb =
    {
      archive,
      path,
      sha256,
    }:
    file {
      name = baseNameOf path;
      inherit sha256;
      url = if mirrors ? ${archive} then "${mirrors.${archive}}/${path}" else null;
    };

  # An archive of NVIDIA's redistributables, by its path in their folder. Where that is a mirror's, `mirrors.cuda` says so.
  #
  # Type: redist :: { component, version, path, sha256 :: String } -> AttrSet
  redist =
    {
      component,
      version,
      path,
      sha256,
    }:
    {
      inherit component version;
      file = file {
        name = baseNameOf path;
        inherit sha256;
        url = "${mirrors.cuda or redistributables}/${path}";
      };
    };

  # The static busybox that opens the first deb: a folder with that one file, taken out of the busybox-static
  # package before Nix runs and known by the hash of its NAR. Nothing in Nix can open a deb by itself, so the command
  # puts it into the store. Elsewhere a binary cache has it, or `mirrors.busybox` is a folder with its NAR, called
  # <sha256>.nar; where there is neither, the failing derivation's name says what to do.
  #
  # Type: busybox :: { system, sha256 :: String } -> Derivation
  busybox =
    { system, sha256 }:
    derivation (
      {
        name = "busybox";
        outputHashMode = "recursive";
        outputHashAlgo = "sha256";
        outputHash = sha256;
      }
      // (
        if mirrors ? busybox then
          {
            system = "builtin";
            builder = "builtin:fetchurl";
            url = "${mirrors.busybox}/${sha256}.nar";
            unpack = true;
            executable = false;
            preferLocalBuild = true;
          }
        else
          {
            inherit system;
            builder = "/run-builder-build-once-to-put-busybox-into-this-store";
          }
      )
    );
}
