# The image: an OCI layout (image-spec 1.1) whose blobs are links to the store paths of its layers, so that images
# share what they have in common, on disk and in a binary cache.
{
  system,
  names,
  base,
  toolchain,
  layers,
  runtime,
}:
{
  # Type: image :: AttrSet -> Derivation
  #
  #   name          the app's name
  #   python        "3.11"
  #   architecture  the image's: "x86_64" or "aarch64"
  #   debian        { busybox, debs, extra }: per architecture, as the lock has them
  #   wheels        name -> wheel
  #   groups        names of wheels, a list for each layer, largest first; a group of one is that wheel's own layer
  #   code          the folder that becomes /app
  #   config        the image's configuration: { env :: [String], labels :: AttrSet, entrypoint, cmd, ports :: [String] }
  #   bytecode      whether .pyc files are in the image
  #
  # The result also has the parts by name, to look at, build or override: `layers`, `rootfs`, `baseLayer`.
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
      bytecode ? true,
    }:
    let
      here = names.machine system;
      root =
        machine: extra:
        base.rootfs {
          name = "rootfs-python${python}-${machine}";
          busybox = debian.busybox.${here};
          debs = debian.debs.${machine} ++ extra;
          pythonVersion = python;
          architecture = machine;
        };
      # What the build runs on is the same for each app of a Python version: it has no package an app adds.
      tools = toolchain.toolchain {
        rootfs = root here [ ];
        pythonVersion = python;
      };
      # The app's own packages are a layer upon the base, which all apps of a Python version share.
      plain = root architecture [ ];
      rootfs = if debian.extra == [ ] then plain else root architecture debian.extra;
      baseLayer = base.baseLayer {
        toolchain = tools;
        rootfs = plain;
        inherit bytecode;
      };
      packagesLayer = base.baseLayer {
        toolchain = tools;
        inherit rootfs bytecode;
        below = plain;
      };
      wheelLayers = builtins.mapAttrs (
        _: wheel:
        layers.wheelLayer {
          toolchain = tools;
          pythonVersion = python;
          inherit wheel bytecode;
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
      all =
        [ baseLayer ]
        ++ (if debian.extra == [ ] then [ ] else [ packagesLayer ])
        ++ map groupLayer groups
        ++ [
          runtimeLayer
          codeLayer
        ];
      image = tools.run {
        name = names.storeName "image-${name}";
        script = "image";
        spec = {
          layers = map toString all;
          architecture = names.ociArchitecture.${architecture};
          reference = "latest";
          inherit config;
        };
      };
    in
    image
    // {
      inherit rootfs baseLayer wheelLayers;
      layers = all;
      toolchain = tools;
    };
}
