# The base of an image: a root file system out of Debian packages, the layer made of it, and the Python in it, which
# runs the library's other scripts.
host@{ system }:
let
  loaders = {
    x86_64 = "ld-linux-x86-64.so.2";
    aarch64 = "ld-linux-aarch64.so.1";
  };
in
rec {
  # A root file system: packages unpacked in the order given, with what their maintainer scripts would have made, and
  # with an empty virtual environment in /opt/venv. Documentation is left out, copyright files are not.
  #
  # `busybox` is a folder with a static busybox for the machine that builds; `architecture` is the packages'. The
  # result has its `architecture` and `pythonVersion`.
  #
  # Type: rootfs ::
  #   { name, architecture, pythonVersion :: String, busybox :: Derivation, debs :: [Derivation] } -> Derivation
  #
  # Example:
  #   rootfs {
  #     name = "rootfs-python3.11";
  #     busybox = debian.busybox.x86_64;
  #     debs = debian.debs.x86_64;
  #     architecture = "x86_64";
  #     pythonVersion = "3.11";
  #   }
  #   => «derivation /nix/store/...-rootfs-python3.11.drv»
  rootfs =
    {
      name,
      busybox,
      debs,
      architecture,
      pythonVersion,
      system ? host.system,
    }:
    derivation {
      inherit
        name
        system
        busybox
        architecture
        pythonVersion
        ;
      builder = "${busybox}/busybox";
      args = [
        "sh"
        "${./sandbox/unpack_debs.sh}"
      ];
      debs = map toString debs;
      passAsFile = [ "debs" ];
      # All that is built needs it, here too: handed to another machine, it would come back from there.
      preferLocalBuild = true;
      # A store path in an image would make it differ between stores.
      allowedReferences = [ ];
    };

  # What the machine that builds uses besides a root's Python, and no image has: packages unpacked into a folder.
  #
  # Type: tools :: { busybox :: Derivation, debs :: [Derivation] } -> Derivation
  #
  # Example:
  #   tools { busybox = debian.busybox.x86_64; debs = debian.tools.x86_64; }
  #   => «derivation /nix/store/...-tools.drv»
  tools =
    {
      busybox,
      debs,
      system ? host.system,
    }:
    derivation {
      name = "tools";
      inherit system busybox;
      builder = "${busybox}/busybox";
      args = [
        "sh"
        "${./sandbox/unpack_tools.sh}"
      ];
      debs = map toString debs;
      preferLocalBuild = true;
    };

  # The words that start a root's Python where the root is no root: in a build, below its store path. The kernel would
  # look for the program's loader in /lib64, so the loader is started by name and told where the libraries are.
  # `rootfs` must be of the machine that builds.
  #
  # Type: pythonArgv :: Derivation -> [String]
  #
  # Example:
  #   pythonArgv (rootfs { architecture = "x86_64"; pythonVersion = "3.11"; ... })
  #   => [
  #     "/nix/store/...-rootfs/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
  #     "--library-path"
  #     "/nix/store/...-rootfs/usr/lib/x86_64-linux-gnu"
  #     "/nix/store/...-rootfs/usr/bin/python3.11"
  #   ]
  pythonArgv =
    rootfs:
    let
      libraries = "${rootfs}/usr/lib/${rootfs.architecture}-linux-gnu";
    in
    [
      "${libraries}/${loaders.${rootfs.architecture}}"
      "--library-path"
      libraries
      "${rootfs}/usr/bin/python${rootfs.pythonVersion}"
    ];

  # The layer of a root, with the bytecode of its standard library and a library cache for the loader. `below` is a
  # root whose layer it stands upon: then only what differs is in it.
  #
  # Type: baseLayer ::
  #   { toolchain :: AttrSet, rootfs, below :: Derivation, bytecode :: Bool, chunkSize :: Int } -> Derivation
  #
  # Example:
  #   baseLayer { inherit toolchain rootfs; }
  #   => «derivation /nix/store/...-layer-base-python3.11-x86_64.drv»
  #
  #   baseLayer { inherit toolchain; rootfs = rootfsWithFfmpeg; below = rootfs; }
  #   => «derivation /nix/store/...-layer-packages-python3.11-x86_64.drv»
  baseLayer =
    {
      toolchain,
      rootfs,
      below ? null,
      bytecode ? true,
      chunkSize ? null,
      architecture ? rootfs.architecture,
      pythonVersion ? rootfs.pythonVersion,
    }:
    toolchain.run {
      name =
        let
          kind = if below == null then "base" else "packages";
        in
        "layer-${kind}-python${pythonVersion}-${architecture}";
      script = "base_layer";
      spec = {
        root = "${rootfs}";
        below = if below == null then null else "${below}";
        inherit architecture bytecode;
        python_version = pythonVersion;
        python = toolchain.argv;
        chunk_size = chunkSize;
      };
    };
}
