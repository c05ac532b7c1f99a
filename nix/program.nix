# Programs of an image for the machine that built it: they run it, or its Python, and are no part of it.
{
  names,
  files,
  # The folder that has the package `builder`, whose means of running images serve here too.
  package,
}:
let
  # What runs an image: standard library only, as the toolchain's Python has no more.
  engine = files {
    name = "builder-engine";
    root = package;
    names = map (name: "builder/${name}") [
      "__init__.py"
      "app.py"
      "container.py"
      "errors.py"
      "layout.py"
      "process.py"
      "run_image.py"
    ];
  };
in
{
  # A shell script, by its text; `shell` is the path of a static busybox.
  #
  # Type: script :: { name, system, shell, text :: String } -> Derivation
  script =
    {
      name,
      system,
      shell,
      text,
    }:
    derivation {
      name = names.storeName name;
      inherit system;
      preferLocalBuild = true;
      builder = shell;
      args = [
        "sh"
        "-c"
        "${shell} cp $textPath $out && ${shell} chmod 755 $out"
      ];
      text = ''
        #!${shell} sh
        ${text}
      '';
      passAsFile = [ "text" ];
    };

  # The words that run an image with podman or docker, as `builder run` does; more words are a command to run instead of
  # the app.
  #
  # Type: run :: { toolchain, image, name } -> String
  run =
    {
      toolchain,
      image,
      name,
    }:
    builtins.concatStringsSep " " (
      [ "exec" ]
      ++ toolchain.argv
      ++ [
        "-B"
        "-S"
        "${engine}/builder/run_image.py"
        "${image}"
        name
        ''"$@"''
      ]
    );
}
