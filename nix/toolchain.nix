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

  # Debian's packages hold no bytecode, and without it each start of Python compiles what it imports: 0.3 s that every
  # layer would pay. This compiles the modules the scripts import, once for each toolchain.
  #
  # Type: warmCache :: { rootfs, argv, pythonVersion } -> Derivation
  warmCache =
    {
      rootfs,
      argv,
      pythonVersion,
    }:
    derivation {
      name = "python${pythonVersion}-pycache";
      inherit system;
      builder = builtins.head argv;
      args = builtins.tail argv ++ options ++ [ "${./sandbox}/warm_cache.py" ];
      PYTHONHASHSEED = "0";
      stdlib = "${rootfs}/usr/lib/python${pythonVersion}";
      scripts = "${./sandbox}";
    };
in
{
  # Type: toolchain :: { rootfs :: Derivation, pythonVersion :: String } -> { argv :: [String], environment :: AttrSet, script :: String -> String }
  #
  # Example:
  #   toolchain { inherit rootfs; pythonVersion = "3.11"; }
  #   => { argv = [ "/nix/store/...-rootfs/lib64/ld-linux-x86-64.so.2" ... ]; ... }
  toolchain =
    { rootfs, pythonVersion }:
    let
      argv = base.pythonArgv rootfs;
      cache = warmCache { inherit rootfs argv pythonVersion; };
      environment = {
        PYTHONHASHSEED = "0";
        PYTHONPYCACHEPREFIX = "${cache}";
      };
    in
    {
      inherit argv environment;

      # A derivation that runs one of sandbox/'s scripts with a JSON specification; `out` is added to it.
      #
      # Type: run :: { name :: String, script :: String, spec :: AttrSet } -> Derivation
      run =
        {
          name,
          script,
          spec,
        }:
        derivation (
          environment
          // {
            inherit name system;
            builder = builtins.head argv;
            args =
              builtins.tail argv
              ++ options
              ++ [
                "${./sandbox}/main.py"
                script
              ];
            spec = builtins.toJSON (spec // { out = builtins.placeholder "out"; });
            passAsFile = [ "spec" ];
          }
        );
    };
}
