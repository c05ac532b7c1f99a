# The library that a rendered image expression calls. It needs no nixpkgs and no network, reads nothing but its
# arguments, and so evaluates pure, on every Nix from 2.8 on.
#
# Type: library :: { system :: String, mirrors :: AttrSet, urls :: AttrSet, runtime, data :: Path } -> AttrSet
#
#   system   the machine that builds ("x86_64-linux" or "aarch64-linux"); the image's own is in its expression
#   mirrors  where Debian's archives are: { debian = "https://..."; debian-security = "https://..."; }
#   urls     sha256 -> URL, for files whose URL the expression does not hold or that come from elsewhere today
#   runtime  the folder with the part of the Python package that goes into images
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
  runtime ? ../builder,
  data ? if builtins.pathExists ./data then ./data else ../builder,
}:
let
  names = import ./names.nix;
  fetch = import ./fetch.nix {
    inherit
      system
      names
      mirrors
      urls
      ;
    redistributables = tables.toolkits.redist;
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
      runtime
      ;
    cudaLayers = cuda.layers;
  };
in
{
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
  inherit (image) image;
  inherit (cuda) toolkit toolkits;
  inherit
    names
    base
    toolchain
    layers
    ;
}
