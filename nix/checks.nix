# The library's own tests: what it says of known arguments, and files that Nix really fetches. `nix flake check` builds
# them; they need neither a network nor anything that is not in this repository.
{ system, library }:
let
  sha256 = builtins.hashString "sha256";
  fails = value: !(builtins.tryEval (builtins.deepSeq value value)).success;

  # A file in the store, served as any other.
  served = text: "file://${builtins.toFile "served" text}";
  mirror = "https://mirror.example.org";
  builder = library {
    inherit system;
    mirrors.debian = "${mirror}/debian";
    urls.${sha256 "from elsewhere"} = served "from elsewhere";
  };
  noMirror = library { inherit system; };

  deb =
    name:
    builder.deb {
      archive = "debian";
      path = "pool/main/${name}_1.0_all.deb";
      sha256 = sha256 name;
    };
  wheel =
    name:
    builder.wheel {
      inherit name;
      version = "1.0";
      filename = "${name}-1.0-py3-none-any.whl";
      sha256 = sha256 name;
      url = "${mirror}/${name}-1.0-py3-none-any.whl";
    };
  imageOf =
    builder:
    builder.image {
      name = "app";
      python = "3.11";
      architecture = "x86_64";
      debian = {
        busybox = {
          x86_64 = builder.busybox {
            system = "x86_64-linux";
            sha256 = sha256 "busybox";
          };
          aarch64 = builder.busybox {
            system = "aarch64-linux";
            sha256 = sha256 "busybox of aarch64";
          };
        };
        debs = {
          x86_64 = [ (deb "libc6") ];
          aarch64 = [ (deb "libc6") ];
        };
        extra = [ (deb "ffmpeg") ];
      };
      wheels = {
        large = wheel "large";
        one = wheel "one";
        two = wheel "two";
      };
      groups = [
        [ "large" ]
        [
          "one"
          "two"
        ]
      ];
      code = builder.files {
        name = "app";
        root = ./.;
        names = [
          "names.nix"
          "sandbox/main.py"
        ];
      };
      config = {
        env = [ "PATH=/bin" ];
        gpus = [ ];
      };
    };
  image = imageOf builder;
  extraPath = builtins.toFile "tool" "";
  changed = image.override { extraPaths = [ extraPath ]; };
  layerNames =
    made:
    builtins.filter (name: made.layers.${name} ? outPath) (
      builtins.filter (name: builtins.match "base|debian|app|runtime|extra-paths|wheels?-.*" name != null) (
        builtins.attrNames made.layers
      )
    );

  # name -> whether it holds
  statements = {
    "a file name becomes a legal store name" =
      builder.names.storeName "libc6_2.36-9+deb12u10~rc1_amd64.deb" == "libc6_2.36-9+deb12u10-rc1_amd64.deb"
      && builder.names.storeName ".hidden" == "-.hidden";
    "a deb is fetched from the mirror that is named" =
      (deb "libc6").url == "${mirror}/debian/pool/main/libc6_1.0_all.deb";
    "a file's store path depends on its hash and not on its URL" =
      (wheel "one").file.outPath == (noMirror.wheel {
        name = "one";
        version = "1.0";
        filename = "one-1.0-py3-none-any.whl";
        sha256 = sha256 "one";
      }).file.outPath;
    "busybox comes from a folder that is named" =
      (library {
        inherit system;
        mirrors.busybox = mirror;
      }).busybox { inherit system; sha256 = sha256 "busybox"; }
      == builder.busybox { inherit system; sha256 = sha256 "busybox"; };
    "layers have names" = layerNames image == [
      "app"
      "base"
      "debian"
      "runtime"
      "wheel-large"
      "wheels-1"
    ];
    "extra paths are a layer of their own" = layerNames changed == [
      "app"
      "base"
      "debian"
      "extra-paths"
      "runtime"
      "wheel-large"
      "wheels-1"
    ];
    "extra paths leave the other layers as they are" = image.layers.wheels-1 == changed.layers.wheels-1;
    "an override leads to another image" = image.outPath != changed.outPath;
    "a package that is replaced changes its layer and no other" =
      let
        other = image.override { replace.packages.large = wheel "other"; };
      in
      other.layers.wheel-large != image.layers.wheel-large && other.layers.wheels-1 == image.layers.wheels-1;
    "a layer that is replaced is the one that was given" =
      (image.override { replace.layers.app = image.layers.runtime; }).layers.app == image.layers.runtime;
    "a deb that is replaced changes the base" =
      (image.override { replace.debs.libc6 = deb "libc6"; }).outPath == image.outPath
      && (image.override { replace.debs.libc6 = deb "libc6-dbg"; }).layers.base != image.layers.base;
    "a replacement for what is not there is refused" =
      fails (image.override { replace.packages.lage = wheel "large"; }).outPath
      && fails (image.override { replace.debs.libc = deb "libc6"; }).outPath
      && fails (image.override { replace.layers.ap = image.layers.app; }).outPath;
    "a file that is missing is refused" = fails (
      builder.files {
        name = "app";
        root = ./.;
        names = [ "no-such-file" ];
      }
    );
    "every class of GPU has a toolkit" = builtins.all (
      class: builder.toolkits.${class}.packages != [ ] || builder.toolkits.${class}.archives != [ ]
    ) (builtins.attrNames builder.toolkits);
    "a V100 gets no CUDA 13" = builtins.compareVersions builder.toolkits.V100.cuda "13" < 0;
    "another machine makes the same image by other steps" =
      let
        of = system: imageOf (library { inherit system; });
      in
      (of "aarch64-linux").system == "aarch64-linux" && (of "aarch64-linux").drvPath != (of "x86_64-linux").drvPath;
  };
  wrong = builtins.filter (name: !statements.${name}) (builtins.attrNames statements);

  # Files fetched by what the library says of them.
  text = "a deb";
  pins = {
    from-a-mirror =
      (library {
        inherit system;
        mirrors.debian = "file://${./.}";
      }).deb
        {
          archive = "debian";
          path = "names.nix";
          sha256 = builtins.hashFile "sha256" ./names.nix;
        };
    from-a-url =
      (builder.wheel {
        name = "one";
        version = "1.0";
        filename = "one-1.0-py3-none-any.whl";
        sha256 = sha256 text;
        url = served text;
      }).file;
    from-elsewhere = builder.sdist {
      filename = "one-1.0.tar.gz";
      sha256 = sha256 "from elsewhere";
      url = "${mirror}/gone";
    };
  };
  report = builtins.concatStringsSep "\n" (builtins.attrNames statements) + "\n";
in
pins
// {
  library =
    if wrong != [ ] then
      throw "does not hold: ${builtins.concatStringsSep "; " wrong}"
    else
      builder.sdist {
        filename = "statements.txt";
        sha256 = sha256 report;
        url = served report;
      };
}
