# An image's Python with its packages, for the machine that built it: the same files as in the image, run where they lie
# in the store, with the libraries of the image's root. The app's own files are not in it: they are those one works on.
{ names, base }:
rec {
  # A virtual environment (PEP 405) out of the layers of packages. `shell` is the path of a static busybox.
  #
  # Type: environment :: { toolchain, rootfs :: Derivation, name, python, shell :: String, layers :: [Derivation] } -> Derivation
  environment =
    {
      toolchain,
      rootfs,
      name,
      python,
      shell,
      layers,
    }:
    if rootfs.architecture != names.machine toolchain.system then
      throw "The environment of ${name} is for ${rootfs.architecture}, and this machine is ${names.machine toolchain.system}."
    else
      toolchain.run {
        name = names.storeName "environment-${name}";
        script = "environment";
        spec = {
          layers = map toString layers;
          root = "${rootfs}";
          argv = base.pythonArgv rootfs;
          python_version = python;
          inherit shell;
        };
      };

  # What `nix develop` enters: a derivation whose builder is bash, as it asks. `bash` is a folder with a static one, which
  # locks have since there are shells.
  #
  # Type: developmentShell :: { environment, bash :: Derivation, name, shell, system :: String } -> Derivation
  developmentShell =
    {
      environment,
      bash,
      name,
      shell,
      system,
    }:
    let
      # The builder's name has to be this.
      named = derivation {
        name = "bash";
        inherit system;
        preferLocalBuild = true;
        builder = shell;
        args = [
          "sh"
          "-c"
          "${shell} mkdir $out && ${shell} ln -s ${bash}/bin/bash-static $out/bash"
        ];
      };
    in
    if bash == null then
      throw "The lock of ${name} has no bash for a shell: it was written before there were shells. Write it anew: builder lock --upgrade"
    else
      derivation {
        name = names.storeName "shell-${name}";
        inherit system;
        builder = "${named}/bash";
        args = [
          "-c"
          "echo ${environment} > $out"
        ];
        # Nix's own script for shells reads the name.
        outputs = [ "out" ];
        PATH = "${environment}/bin";
        VIRTUAL_ENV = "${environment}";
      };
}
