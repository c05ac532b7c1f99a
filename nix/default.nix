# The library that a rendered image expression calls. It needs no nixpkgs and no network, reads nothing but its
# arguments, and so evaluates pure, on every Nix from 2.8 on.
#
# Type: library :: { system :: String, mirrors :: AttrSet, urls :: AttrSet, runtime, data :: Path } -> AttrSet
#
#   system   the machine that builds ("x86_64-linux" or "aarch64-linux"); the image's own is in its expression
#   mirrors  where Debian's archives are: { debian = "https://..."; debian-security = "https://..."; }
#   urls     sha256 -> URL, for files whose URL the expression does not hold or that come from elsewhere today
#   runtime  the folder with the part of the Python package that goes into images; by default out of the checkout that
#            this library is in
#   data     the folder with what is known of machines and of CUDA
#
# Example:
#   import ./image.nix {
#     builder = import ./nix { system = "x86_64-linux"; mirrors.debian = "https://mirror.example.org/debian"; };
#     code = ./app;
#   }
{
  system,
  mirrors ? { },
  urls ? { },
  runtime ? null,
  data ? if builtins.pathExists ./data then ./data else ../builder,
}:
let
  names = import ./names.nix;
  filesOf = import ./files.nix;
  # builder/runtime_files.py lists the same.
  runtimeFiles =
    map (name: "builder/${name}") [
      "__init__.py"
      "app.py"
      "py.typed"
    ]
    ++ map (name: "builder/runtime/${name}") (
      builtins.filter (name: builtins.match ".*[.]py" name != null) (
        builtins.attrNames (builtins.readDir ../builder/runtime)
      )
    );
  fetch = import ./fetch.nix {
    inherit
      system
      names
      mirrors
      urls
      ;
    redistributables = tables.toolkits.redist;
  };
  runtimeFolder = filesOf.files {
    name = "builder-runtime";
    root = ./..;
    names = runtimeFiles;
  };
  read = file: builtins.fromTOML (builtins.readFile (data + "/${file}.toml"));
  tables = {
    machines = read "machines/machines";
    builds = read "cuda/builds";
    toolkits = read "cuda/toolkits";
  };
  cuda = import ./cuda.nix { inherit names tables; };
  base = import ./base.nix { inherit system; };
  toolchain = import ./toolchain.nix { inherit system base; };
  layers = import ./layers.nix { inherit system names; };
  source = import ./source.nix {
    inherit
      system
      names
      base
      toolchain
      ;
  };
  image = import ./image.nix {
    inherit
      names
      base
      toolchain
      layers
      source
      environment
      program
      ;
    runtime = if runtime == null then runtimeFolder else runtime;
    cudaLayers = cuda.layers;
  };
  environment = import ./environment.nix { inherit names base; };
  program = import ./program.nix {
    inherit names;
    inherit (filesOf) files;
    package = ./..;
  };
in
{
  inherit system;
  inherit (fetch)
    wheel
    deb
    busybox
    sdist
    tree
    crate
    redist
    ;
  inherit (source) build sourceStep;
  inherit (filesOf) files;
  inherit (image) image;
  inherit (cuda) toolkit toolkits;
  inherit
    names
    base
    toolchain
    layers
    ;
}
