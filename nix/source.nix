# Packages that are built from source: a description of one, and the steps of its build.
#
# A build runs a Python project's own build backend (PEP 517) in a root file system made of pinned Debian packages, and
# sees that root, its source and its build requirements; neither the machine nor a network. What comes out is a wheel
# that is written anew in one order with one time, so that every build of it is the same file.
{
  system,
  names,
  base,
  toolchain,
}:
let
  # A wheel for the scripts: the name of its store path may be another than the file's.
  #
  # Type: fileSpec :: AttrSet -> AttrSet
  fileSpec = wheel: {
    path = "${wheel.file}";
    inherit (wheel) filename;
  };

  # Type: crateSpec :: AttrSet -> AttrSet
  crateSpec = crate: {
    path = "${crate.file}";
    inherit (crate) name version sha256;
  };
in
rec {
  # A package that is built into a wheel.
  #
  # `filename` and `sha256` are the wheel's as the lock has them, null where it is not known: while it is being locked,
  # and for a folder, whose files may have changed. No build depends on them, nor on `version`: a wheel's layer holds
  # the wheel against them. So what was built for the lock is not built again.
  #
  # Type: build :: AttrSet -> AttrSet
  #
  #   name, version  the project's
  #   source         what `sdist` or `tree` gives, or a path
  #   subdirectory   the project's folder in the source, or null
  #   requires       wheels that the build backend needs
  #   compiled       whether the build has compilers
  #   variables      environment variables besides the usual ones
  #   crates         what `crate` gives, of those that Cargo.lock names
  #   direct         content of direct_url.json (PEP 610), or null
  build =
    {
      name,
      version,
      source,
      subdirectory ? null,
      requires ? [ ],
      compiled ? false,
      variables ? { },
      crates ? [ ],
      filename ? null,
      sha256 ? null,
      direct ? null,
    }:
    {
      inherit
        name
        version
        filename
        sha256
        direct
        ;
      build = {
        inherit
          source
          subdirectory
          requires
          compiled
          variables
          crates
          ;
      };
    };

  # The root file systems that builds and images of a target have.
  #
  # `host` is that of the machine that builds, with nothing an app adds; `plain` is the image's base, `image` the base
  # and what the app adds, `compile` both and what compiles. Only what the build machine can run is a build's root.
  # `tools` is no root: a folder of what the machine that builds uses besides `host`, or null; `bash` is one with a static
  # bash, for shells on that machine.
  #
  # Type: roots :: { python, architecture :: String, debian :: AttrSet } -> AttrSet
  roots =
    {
      python,
      architecture,
      debian,
    }:
    let
      here = names.machine system;
      root =
        machine: kind: more:
        base.rootfs {
          name = "rootfs-${kind}python${python}-${machine}";
          busybox = debian.busybox.${here};
          debs = debian.debs.${machine} ++ more;
          pythonVersion = python;
          architecture = machine;
        };
      compilers = debian.build or [ ];
      toolsOf =
        isWanted:
        let
          debs = builtins.filter isWanted (debian.tools.${here} or [ ]);
        in
        if debs == [ ] then
          null
        else
          base.tools {
            busybox = debian.busybox.${here};
            inherit debs;
          };
    in
    rec {
      host = root here "" [ ];
      tools = toolsOf (deb: names.debName deb != "bash-static");
      bash = toolsOf (deb: names.debName deb == "bash-static");
      plain = root architecture "" [ ];
      image = if debian.extra == [ ] then plain else root architecture "" debian.extra;
      compile =
        if architecture != here then
          throw "What has parts to be compiled for ${architecture} must be built on such a machine; this one is ${here}."
        else if compilers == [ ] then
          image
        else
          root architecture "build-" (debian.extra ++ compilers);
      # Without compilers the result is the same on any machine, so the machine's own base does for another's.
      interpret = if architecture == here then image else host;
    };

  # A step of a package's build:
  #
  #   "requires"  a folder with requires.json: what the backend asks for besides pyproject.toml's list
  #               (get_requires_for_build_wheel), PEP 508 strings
  #   "wheel"     a folder with the wheel
  #
  # Type: sourceStep ::
  #   { python, architecture :: String, debian, package :: AttrSet, step :: String } -> Derivation
  #
  # Example:
  #   sourceStep {
  #     python = "3.11";
  #     architecture = "x86_64";
  #     debian = { busybox = { ... }; debs = { ... }; extra = [ ]; build = [ ]; };
  #     package = build { name = "docopt"; version = "0.6.2"; source = sdist { ... }; requires = [ (wheel { ... }) ]; };
  #     step = "wheel";
  #   }
  #   => «derivation /nix/store/...-wheel-docopt.drv»
  sourceStep =
    {
      python,
      architecture,
      debian,
      package,
      step,
    }:
    let
      all = roots { inherit python architecture debian; };
      tools = toolchain.toolchain {
        rootfs = all.host;
        pythonVersion = python;
      };
      inherit (package) build;
    in
    tools.run {
      name = names.storeName "${step}-${package.name}";
      script = "build_wheel";
      spec = {
        inherit (package) name;
        inherit step;
        inherit (build) subdirectory variables;
        source = "${build.source}";
        root = if build.compiled then "${all.compile}" else "${all.interpret}";
        requires = map fileSpec build.requires;
        crates = map crateSpec build.crates;
        python_version = python;
      };
    };

  # A package of an image as `wheelLayer` takes it, whether it has a wheel or is built into one.
  #
  # Type: installable :: { python, architecture :: String, debian, package :: AttrSet } -> AttrSet
  installable =
    arguments@{ package, ... }:
    if !(package ? build) then
      package
    else
      {
        inherit (package) name version direct;
        file = sourceStep (arguments // { step = "wheel"; });
        # The name is the wheel's own; what was locked is for comparing.
        filename = null;
        locked = {
          inherit (package)
            name
            version
            filename
            sha256
            ;
        };
      };
}
