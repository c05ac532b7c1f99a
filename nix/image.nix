# The image: an OCI layout (image-spec 1.1) whose blobs are links to the store paths of its layers, so that images
# share what they have in common, on disk and in a binary cache.
{
  names,
  base,
  toolchain,
  layers,
  source,
  cudaLayers,
  runtime,
}:
{
  # Type: image :: AttrSet -> Derivation
  #
  #   name          the app's name
  #   python        "3.11"
  #   architecture  the image's: "x86_64" or "aarch64"
  #   debian        { busybox, debs, extra, build }: as the lock has them; the first two per architecture, and `build`
  #                 may be missing where nothing is compiled
  #   wheels        name -> what `wheel` or `build` gives
  #   groups        names of wheels, a list for each layer, largest first; a group of one is that wheel's own layer
  #   code          the folder that becomes /app
  #   config        the image's configuration: { env :: [String], labels :: AttrSet, entrypoint, cmd, ports :: [String] },
  #                 and the GPUs it is for, `gpus`: machine types with `name` and `capability`
  #   cuda          { parts, toolkit }: names of the wheels that are parts of CUDA, and the toolkit, { version,
  #                 archives, hidesFunctions } with what `redist` gives, or null; null where the image has neither
  #   bytecode      whether .pyc files are in the image
  #
  # The result also has the parts by name, to look at, build or override: `layers`, `rootfs`, `baseLayer`,
  # `wheelLayers`, and `links`, the report of what their libraries lack.
  image =
    {
      name,
      python,
      architecture,
      debian,
      wheels,
      groups,
      code,
      config,
      cuda ? null,
      bytecode ? true,
    }:
    let
      target = { inherit python architecture debian; };
      # The app's own packages are a layer upon the base, which all apps of a Python version share. What the build runs
      # on has no package that an app adds.
      roots = source.roots target;
      rootfs = roots.image;
      tools = toolchain.toolchain {
        rootfs = roots.host;
        pythonVersion = python;
      };
      baseLayer = base.baseLayer {
        toolchain = tools;
        rootfs = roots.plain;
        inherit bytecode;
      };
      packagesLayer = base.baseLayer {
        toolchain = tools;
        inherit rootfs bytecode;
        below = roots.plain;
      };
      wheelLayers = builtins.mapAttrs (
        _: package:
        layers.wheelLayer {
          toolchain = tools;
          pythonVersion = python;
          wheel = source.installable (target // { inherit package; });
          inherit bytecode;
        }
      ) wheels;
      groupLayer =
        group:
        if builtins.length group == 1 then
          wheelLayers.${builtins.head group}
        else
          layers.mergedLayer {
            toolchain = tools;
            name = "small-wheels";
            layers = map (member: wheelLayers.${member}) group;
          };
      runtimeLayer = layers.treeLayer {
        toolchain = tools;
        name = "runtime";
        root = runtime;
        prefix = "opt/venv/lib/python${python}/site-packages";
      };
      codeLayer = layers.treeLayer {
        toolchain = tools;
        name = "app";
        root = code;
        prefix = "app";
        uid = 1000;
        gid = 1000;
      };
      cudaParts =
        if cuda == null then
          [ ]
        else
          cudaLayers {
            toolchain = tools;
            inherit rootfs architecture;
            inherit (cuda) toolkit;
            parts = map (name: wheelLayers.${name}) cuda.parts;
          };
      all =
        [ baseLayer ]
        ++ (if debian.extra == [ ] then [ ] else [ packagesLayer ])
        ++ map groupLayer groups
        ++ cudaParts
        ++ [
          runtimeLayer
          codeLayer
        ];
      # What the packages' libraries need and do not get. It is made of the packages alone, so a change of the app's code
      # checks nothing again.
      links = tools.run {
        name = "links";
        script = "link_check";
        here = true;
        spec = {
          layers = map toString (builtins.attrValues wheelLayers);
          root = "${rootfs}";
          python_version = python;
          inherit architecture;
        };
      };
      image = tools.run {
        name = names.storeName "image-${name}";
        script = "image";
        here = true;
        spec = {
          layers = map toString all;
          links = "${links}";
          architecture = names.ociArchitecture.${architecture};
          reference = "latest";
          inherit config;
        };
      };
    in
    image
    // {
      inherit rootfs baseLayer wheelLayers links;
      layers = all;
      toolchain = tools;
    };
}
