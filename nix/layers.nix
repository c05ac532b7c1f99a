# Image layers, one derivation each. A layer is a folder with `blob` (tar+gzip that is also eStargz) and `layer.json`
# (digest, size, diff_id, annotations, contents). Its bytes follow from what it is made of and from nothing else:
# not from the app, the machine or the store.
{ system, names }:
{
  # The layer of one wheel, installed under /opt/venv. `maxUnpacked` is the number of bytes at which an unpacked
  # wheel is taken for a zip bomb. A package that is built from source has a folder with its wheel as `file`; the layer
  # is made of no other wheel than the one that was `locked`.
  #
  # Type: wheelLayer :: { toolchain, pythonVersion, wheel, bytecode, chunkSize, maxUnpacked } -> Derivation
  wheelLayer =
    {
      toolchain,
      pythonVersion,
      wheel,
      bytecode ? true,
      chunkSize ? null,
      maxUnpacked ? 64 * 1024 * 1024 * 1024,
    }:
    toolchain.run {
      name = names.storeName "layer-${wheel.name}-${wheel.version}";
      script = "wheel_layer";
      spec = {
        wheel = "${wheel.file}";
        inherit (wheel) filename;
        locked = wheel.locked or null;
        python_version = pythonVersion;
        python = toolchain.argv;
        inherit bytecode;
        chunk_size = chunkSize;
        max_unpacked = maxUnpacked;
        direct_url = wheel.direct;
      };
    };

  # One layer out of several: their files are joined as they are, none is compressed again. Of a path that more than
  # one has, the last counts.
  #
  # Type: mergedLayer :: { toolchain, name :: String, layers :: [Derivation] } -> Derivation
  mergedLayer =
    {
      toolchain,
      name,
      layers,
    }:
    toolchain.run {
      name = names.storeName "layer-${name}";
      script = "merge_layer";
      here = true;
      spec.layers = map toString layers;
    };

  # The layer of a folder, or of what `files` gives, placed at `prefix` (without a leading slash).
  #
  # Type: treeLayer :: { toolchain, name, root, prefix, uid, gid } -> Derivation
  treeLayer =
    {
      toolchain,
      name,
      root,
      prefix,
      uid ? 0,
      gid ? 0,
    }:
    toolchain.run {
      name = names.storeName "layer-${name}";
      script = "tree_layer";
      here = true;
      spec = {
        inherit
          name
          prefix
          uid
          gid
          ;
      }
      // (if root ? placed then root // { root = "${root.root}"; } else { root = "${root}"; });
    };

  # The layer of store paths and all that they refer to, each at its own place. What `below` and its references have is
  # left out.
  #
  # Type: closureLayer :: { toolchain, name :: String, paths, below :: [StorePath] } -> Derivation
  closureLayer =
    {
      toolchain,
      name,
      paths,
      below ? [ ],
    }:
    toolchain.run {
      name = names.storeName "layer-${name}";
      script = "closure_layer";
      spec = { inherit name; };
      closures = { inherit paths below; };
    };

  # A folder with a link to each of an image's layers, lowest first.
  #
  # Type: layerFolder :: { name :: String, busybox, layers :: [{ name :: String, layer }] } -> Derivation
  layerFolder =
    {
      name,
      busybox,
      layers,
    }:
    let
      shell = "${busybox}/busybox";
      link =
        index:
        let
          part = builtins.elemAt layers index;
          number = "${if index < 10 then "0" else ""}${toString index}";
        in
        "${shell} ln -s ${part.layer} $out/${number}-${part.name}";
      commands = [ "${shell} mkdir $out" ] ++ builtins.genList link (builtins.length layers);
    in
    derivation {
      inherit name system;
      preferLocalBuild = true;
      builder = shell;
      args = [
        "sh"
        "-c"
        (builtins.concatStringsSep " && " commands)
      ];
    };
}
