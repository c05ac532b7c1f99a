# The Python that runs this library's scripts inside Nix builds: the image's own version, out of the same Debian
# packages, for the machine that builds. So an image is made by the Python it holds, and an aarch64 image can be
# made on x86_64, since layers are transformations of bytes.
{ system, base }:
let
  # Nothing is compiled into the store's folders, and the module `site` is not imported: Debian's sitecustomize.py is
  # a link to one in /etc, which in a build without a sandbox is the machine's.
  options = [
    "-B"
    "-S"
  ];

  # What each script imports of its neighbours: a change in one file then rebuilds only what it makes.
  # tests/unit/test_nix_library.py holds this against the scripts.
  layer = [
    "estargz"
    "gzip_members"
    "tar_headers"
  ];
  compiler = layer ++ [
    "bytecode"
    "compile_worker"
    "zip_index"
  ];
  imports = {
    base_layer = compiler ++ [ "ldcache" ];
    closure_layer = layer ++ [ "tree_layer" ];
    cuda_layer = layer ++ [
      "cuda_parts"
      "ldcache"
      "toc_reader"
    ];
    build_wheel = [
      "build_environment"
      "build_failure"
      "build_frontend"
      "build_room"
      "crates"
      "gzip_members"
      "pep440"
      "repack_wheel"
      "unpack_source"
      "wheel"
      "zip_index"
    ];
    environment = [ "gzip_members" ];
    image = [
      "fatbin"
      "gzip_members"
      "kernel_check"
      "link_report"
    ];
    link_check = [
      "build_room"
      "elf"
      "estargz"
      "gzip_members"
      "import_probe"
      "ldcache"
      "link_reason"
      "link_report"
      "links"
      "tar_headers"
      "toc_reader"
      "unpack_source"
    ];
    merge_layer = layer ++ [ "toc_reader" ];
    toolkit_layer = layer ++ [
      "cuda_parts"
      "toc_reader"
    ];
    tree_layer = layer;
    wheel_layer = compiler ++ [
      "elf"
      "fatbin"
      "pep440"
      "wheel"
    ];
  };
  # What runs every script, and what compiles them.
  always = [
    "compile_worker"
    "gzip_members"
    "isal"
    "main"
    "warm_cache"
  ];

  # The folder that each script runs from. They are attributes so that Nix copies each once, whatever the number of
  # derivations that name it.
  #
  # Type: folders :: AttrSet
  folders = builtins.mapAttrs (
    script: modules:
    let
      files = map (module: "${module}.py") ([ script ] ++ always ++ modules);
    in
    builtins.path {
      name = "sandbox-${script}";
      path = ./sandbox;
      filter = path: _: builtins.elem (baseNameOf path) files;
    }
  ) imports;

  # Debian's packages hold no bytecode, and without it each start of Python compiles what it imports: 0.3 s that every
  # layer would pay. This compiles the modules that a script imports, once for each toolchain.
  #
  # Type: warmCache :: { rootfs, argv, pythonVersion, script } -> Derivation
  warmCache =
    {
      rootfs,
      argv,
      pythonVersion,
      script,
    }:
    derivation {
      name = "python${pythonVersion}-pycache-${script}";
      inherit system;
      builder = builtins.head argv;
      args = builtins.tail argv ++ options ++ [ "${folders.${script}}/warm_cache.py" ];
      PYTHONHASHSEED = "0";
      stdlib = "${rootfs}/usr/lib/python${pythonVersion}";
      preferLocalBuild = true;
    };

  # What makes Nix list closures (Nix manual, "exportReferencesGraph"): a file for each path.
  #
  # Type: closureLists :: AttrSet -> AttrSet
  closureLists =
    closures:
    let
      lists = builtins.concatMap (
        name:
        let
          paths = closures.${name};
        in
        builtins.concatLists (
          builtins.genList (index: [
            "${name}-${toString index}"
            (builtins.elemAt paths index)
          ]) (builtins.length paths)
        )
      ) (builtins.attrNames closures);
    in
    if lists == [ ] then { } else { exportReferencesGraph = lists; };
in
{
  # `argv` starts the Python, on a machine of the kind `system`; `run` makes a derivation of a script. `tools` is a folder
  # of what builds use besides (see base.nix), or null.
  #
  # Type: toolchain ::
  #   { rootfs, tools :: Derivation, pythonVersion :: String }
  #   -> { argv :: [String], system :: String, run :: AttrSet -> Derivation }
  #
  # Example:
  #   toolchain { inherit rootfs; pythonVersion = "3.11"; }
  #   => { argv = [ "/nix/store/...-rootfs/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2" ... ]; run = «lambda»; }
  toolchain =
    {
      rootfs,
      pythonVersion,
      tools ? null,
    }:
    let
      argv = base.pythonArgv rootfs;
      caches = builtins.mapAttrs (
        script: _:
        warmCache {
          inherit
            rootfs
            argv
            pythonVersion
            script
            ;
        }
      ) imports;
    in
    {
      inherit argv system;

      # A derivation that runs one of sandbox/'s scripts with a JSON specification; `out` is added to it. Of each of the
      # `closures` the script finds a file in its working directory that lists the paths and all that they refer to. `here`
      # is for what takes less time than its inputs take on their way: it is not handed to another machine.
      #
      # Type: run :: { name :: String, script :: String, spec, closures :: AttrSet, here :: Bool } -> Derivation
      run =
        {
          name,
          script,
          spec,
          closures ? { },
          here ? false,
        }:
        derivation (
          closureLists closures
          // {
            inherit name system;
            builder = builtins.head argv;
            args =
              builtins.tail argv
              ++ options
              ++ [
                "${folders.${script}}/main.py"
                script
              ];
            PYTHONHASHSEED = "0";
            PYTHONPYCACHEPREFIX = "${caches.${script}}";
            spec = builtins.toJSON (spec // { out = builtins.placeholder "out"; });
            passAsFile = [ "spec" ];
            preferLocalBuild = here;
            # Where ISA-L is, for the script that inflates much; without it, that takes zlib.
            isal =
              if tools != null && script == "wheel_layer" then
                "${tools}/usr/lib/${rootfs.architecture}-linux-gnu/libisal.so.2"
              else
                "";
          }
        );
    };
}
