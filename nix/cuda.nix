# CUDA in an image: the layers that make it found, and the toolkits that there are, one for each class of GPU.
{ names, tables }:
let
  inherit (tables) machines builds;
  known = tables.toolkits;

  home = "usr/local/cuda";

  major = version: builtins.head (builtins.split "\\." version);
  older = one: other: builtins.compareVersions one other < 0;
  sorted = builtins.sort older;
  last = list: builtins.elemAt list (builtins.length list - 1);
  any = builtins.any;

  # "12.8" of "cu128".
  #
  # Type: cudaOf :: String -> String
  cudaOf =
    build:
    let
      digits = builtins.substring 2 8 build;
      length = builtins.stringLength digits;
    in
    "${builtins.substring 0 (length - 1) digits}.${builtins.substring (length - 1) 1 digits}";

  # Whether a build of a release of torch has kernels for a compute capability; see builder/cuda/choice.py.
  #
  # Type: runsOn :: String -> String -> String -> Bool
  runsOn =
    capability: release: build:
    let
      span = machines.capabilities.${capability};
      rules = builds.kernels.${capability} or null;
      covers =
        rule:
        builtins.elem build rule.builds
        && (rule.first == "" || !(older release rule.first))
        && (rule.last == "" || !(older rule.last release));
    in
    !(span ? last && older span.last (cudaOf build)) && (rules == null || any covers rules);

  # The CUDA of a class's toolkit where no package decides: that of the newest torch with a build for it, of several the
  # one for the oldest driver.
  #
  # Type: defaultCuda :: String -> String
  defaultCuda =
    capability:
    let
      fitting = release: builtins.filter (runsOn capability release) builds.torch.${release}.builds;
      release = last (
        builtins.filter (release: fitting release != [ ]) (sorted (builtins.attrNames builds.torch))
      );
      first = builds.preferred.${capability} or "";
      preferred = builtins.filter (
        build: first == "" || !(older (cudaOf build) (cudaOf first))
      ) (fitting release);
      candidates = if preferred == [ ] then fitting release else preferred;
      # A driver older than CUDA 12's is not worth an older CUDA.
      rank = build: if older (major (cudaOf build)) "12" then "12" else major (cudaOf build);
      lowest = builtins.head (sorted (map rank candidates));
      ofLowest = builtins.filter (build: rank build == lowest) candidates;
      default = builds.torch.${release}.default;
    in
    if builtins.elem default ofLowest then cudaOf default else last (sorted (map cudaOf ofLowest));

  # The smallest driver for a CUDA on a class of GPU.
  #
  # Type: driverOf :: AttrSet -> String -> String
  driverOf = gpu: cuda: last (sorted ([ builds.drivers.${major cuda} ] ++ (if gpu ? driver then [ gpu.driver ] else [ ])));
in
rec {
  # A toolkit, described: of which CUDA, for which driver, and what it is made of. `packages` are requirements and
  # `archives` components of NVIDIA's redistributables, in the release that `manifest` lists; by default those that
  # `cuda = "devel"` gives an app. `override` changes what is given and leaves the rest.
  #
  # Type: toolkit :: { class, cuda :: String, packages, archives :: [String] } -> AttrSet
  #
  # Example:
  #   toolkit { class = "H100"; cuda = "12.8"; }
  #   => { class = "H100"; capability = "9.0"; cuda = "12.8"; driver = "525.60.13"; manifest = "12.8.2"; ... }
  #
  #   toolkits.H100.override { cuda = "12.8"; }
  #   => the same
  toolkit =
    arguments@{
      class,
      cuda ? defaultCuda machines.gpus.${class}.capability,
      packages ? map (name: "${name}==${cuda}.*") known.parts.${major cuda}.packages,
      archives ? known.parts.${major cuda}.archives,
    }:
    let
      gpu = machines.gpus.${class};
    in
    {
      inherit
        class
        cuda
        packages
        archives
        ;
      inherit (gpu) capability;
      architecture = gpu.architecture or "x86_64";
      driver = driverOf gpu cuda;
      manifest = if archives == [ ] then null else known.manifests.${cuda};
      override = changes: toolkit (arguments // changes);
    };

  # The toolkit of each class of GPU, by the class's name.
  #
  # Type: toolkits :: AttrSet
  #
  # Example:
  #   toolkits.V100.cuda
  #   => "12.6"
  toolkits = builtins.mapAttrs (class: _: toolkit { inherit class; }) machines.gpus;

  # The layers of an image that has CUDA: the toolkit's files that no package has, where there are any, and what makes all
  # of it found.
  #
  # Type: layers ::
  #   { toolchain :: AttrSet, rootfs :: Derivation, architecture :: String, parts :: [Derivation], toolkit :: AttrSet }
  #   -> [{ name :: String, layer :: Derivation }]
  #
  #   rootfs   the image's, with the app's Debian packages
  #   parts    the layers of the image's CUDA packages
  #   toolkit  { version, archives, hidesFunctions }, or null; the last is whether headers must hide some of glibc's
  #            functions from nvcc
  layers =
    {
      toolchain,
      rootfs,
      architecture,
      parts,
      toolkit,
    }:
    let
      toolkitLayer = toolchain.run {
        name = names.storeName "layer-cuda-toolkit-${toolkit.version}";
        script = "toolkit_layer";
        spec = {
          inherit (toolkit) version;
          archives = map (archive: {
            path = "${archive.file}";
            inherit (archive) component version;
          }) toolkit.archives;
          parts = map toString parts;
          prefix = home;
        };
      };
      named = name: layer: { inherit name layer; };
      hasFiles = toolkit != null && toolkit.archives != [ ];
      cudaLayer = toolchain.run {
        name = "layer-cuda";
        script = "cuda_layer";
        here = true;
        spec = {
          root = "${rootfs}";
          inherit architecture;
          parts = map toString parts;
          home = if toolkit == null then null else home;
          hides_functions = toolkit != null && toolkit.hidesFunctions or false;
          toolkit = if hasFiles then "${toolkitLayer}" else null;
        };
      };
    in
    (if hasFiles then [ (named "cuda-toolkit" toolkitLayer) ] else [ ]) ++ [ (named "cuda" cudaLayer) ];
}
