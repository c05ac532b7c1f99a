# The image: an OCI layout (image-spec 1.1) whose blobs are links to the store paths of its layers, so that images
# share what they have in common, on disk and in a binary cache.
{
  names,
  base,
  toolchain,
  layers,
  source,
  cudaLayers,
  environment,
  program,
  runtime,
}:
let
  # Replaces what of a list or set has a name that is replaced. `known` are the names that there are.
  #
  # Type: checked :: String -> AttrSet -> [String] -> AttrSet
  checked =
    kind: replaced: known:
    let
      unknown = builtins.filter (name: !(builtins.elem name known)) (builtins.attrNames replaced);
    in
    if unknown == [ ] then
      replaced
    else
      throw "replace.${kind} names ${builtins.concatStringsSep ", " unknown}, which the image does not have; it has ${builtins.concatStringsSep ", " known}";
in
rec {
  # Type: image :: AttrSet -> Derivation
  #
  #   name          the app's name
  #   python        "3.11"
  #   architecture  the image's: "x86_64" or "aarch64"
  #   debian        { busybox, debs, tools, extra, build }: as the lock has them; the first three per architecture.
  #                 `tools` and, where nothing is compiled, `build` may be missing
  #   wheels        name -> what `wheel` or `build` gives
  #   groups        names of wheels, a list for each layer, largest first; a group of one is that wheel's own layer
  #   code          the folder that becomes /app, or what `files` gives
  #   config        the image's configuration: { env :: [String], labels :: AttrSet, entrypoint, cmd, ports :: [String] },
  #                 and the GPUs it is for, `gpus`: machine types with `name` and `capability`
  #   cuda          { parts, toolkit }: names of the wheels that are parts of CUDA, and the toolkit, { version,
  #                 archives, hidesFunctions } with what `redist` gives, or null; null where the image has neither
  #   bytecode      whether .pyc files are in the image
  #   extraPaths    store paths that come along with all they refer to, such as packages of nixpkgs; what is in their
  #                 `bin` is found on PATH
  #   replace       { packages, debs, layers }: by name, what stands in for a wheel, a Debian package or a layer
  #
  # The result also has the parts by name, to look at, build or override: `layers`, a folder with a link to each layer
  # and the layers by name; `rootfs`; `toolchain`; and `links`, the report of what the packages' libraries lack.
  # `environment` is its Python with its packages for this machine, `shell` what `nix develop` enters to have that, and
  # `program` a script that runs the image with podman or docker. `override` makes the image again with other arguments: a set of them, or a function of those that it was made with.
  #
  # Example:
  #   upscale.override { extraPaths = [ pkgs.ffmpeg ]; }
  #   => «derivation /nix/store/...-image-upscale.drv»
  #
  #   upscale.override { replace.layers.numpy = myLayer; }
  #   => the same, with a layer of one's own
  image =
    arguments@{
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
      extraPaths ? [ ],
      replace ? { },
    }:
    let
      allDebs = builtins.concatLists (builtins.attrValues debian.debs) ++ debian.extra;
      replacedDebs = checked "debs" (replace.debs or { }) (names.unique (map names.debName allDebs));
      replacedWheels = checked "packages" (replace.packages or { }) (builtins.attrNames wheels);
      replacedLayers = checked "layers" (replace.layers or { }) (
        names.unique (map (wheel: "wheel-${wheel}") (builtins.attrNames wheels) ++ map (part: part.name) parts)
      );
      changed = map (deb: replacedDebs.${names.debName deb} or deb);
      target = {
        inherit python architecture;
        debian = debian // {
          debs = builtins.mapAttrs (_: changed) debian.debs;
          extra = changed debian.extra;
        };
      };
      # The app's own packages are a layer upon the base, which all apps of a Python version share. What the build runs
      # on has no package that an app adds.
      roots = source.roots target;
      rootfs = roots.image;
      tools = toolchain.toolchain {
        rootfs = roots.host;
        pythonVersion = python;
        inherit (roots) tools;
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
        wheelName: package:
        replacedLayers."wheel-${wheelName}" or (layers.wheelLayer {
          toolchain = tools;
          pythonVersion = python;
          wheel = source.installable (target // { inherit package; });
          inherit bytecode;
        })
      ) (wheels // replacedWheels);
      # Small wheels share layers, which are numbered.
      groupPart =
        index:
        let
          group = builtins.elemAt groups index;
          first = builtins.head group;
        in
        if builtins.length group == 1 then
          named "wheel-${first}" wheelLayers.${first}
        else
          named "wheels-${toString index}" (
            layers.mergedLayer {
              toolchain = tools;
              name = "small-wheels";
              layers = map (member: wheelLayers.${member}) group;
            }
          );
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
      extraLayer = layers.closureLayer {
        toolchain = tools;
        name = "extra-paths";
        paths = extraPaths;
      };
      named = name: layer: { inherit name layer; };
      # Programs of the extra paths are found after all others.
      onPath =
        variable:
        if builtins.substring 0 5 variable == "PATH=" then
          builtins.concatStringsSep ":" ([ variable ] ++ map (path: "${path}/bin") extraPaths)
        else
          variable;
      # Lowest first.
      parts =
        [ (named "base" baseLayer) ]
        ++ (if debian.extra == [ ] then [ ] else [ (named "debian" packagesLayer) ])
        ++ builtins.genList groupPart (builtins.length groups)
        ++ cudaParts
        ++ (if extraPaths == [ ] then [ ] else [ (named "extra-paths" extraLayer) ])
        ++ [
          (named "runtime" runtimeLayer)
          (named "app" codeLayer)
        ];
      chosen = map (part: part // { layer = replacedLayers.${part.name} or part.layer; }) parts;
      all = map (part: part.layer) chosen;
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
      result = tools.run {
        name = names.storeName "image-${name}";
        script = "image";
        here = true;
        spec = {
          layers = map toString all;
          links = "${links}";
          architecture = names.ociArchitecture.${architecture};
          reference = "latest";
          config = config // {
            env = map onPath config.env;
          };
        };
      };
      # A static busybox of the machine that builds.
      busybox = debian.busybox.${names.machine tools.system};
      shell = "${busybox}/busybox";
      pythonEnvironment = environment.environment {
        toolchain = tools;
        inherit
          name
          python
          rootfs
          shell
          ;
        layers = map (part: part.layer) (
          builtins.filter (part: builtins.match "wheels?-.*|runtime" part.name != null) chosen
        );
      };
    in
    result
    // {
      inherit rootfs links;
      layers =
        layers.layerFolder {
          name = names.storeName "layers-${name}";
          inherit busybox;
          layers = chosen;
        }
        // builtins.listToAttrs (
          map (part: {
            inherit (part) name;
            value = part.layer;
          }) chosen
        );
      toolchain = tools;
      environment = pythonEnvironment;
      shell = environment.developmentShell {
        inherit name shell;
        inherit (tools) system;
        inherit (roots) bash;
        environment = pythonEnvironment;
      };
      program = program.script {
        name = "run-${name}";
        inherit (tools) system;
        inherit shell;
        text = program.run {
          toolchain = tools;
          image = result;
          inherit name;
        };
      };
      override =
        change:
        image (arguments // (if builtins.isFunction change then change arguments else change));
    };
}
