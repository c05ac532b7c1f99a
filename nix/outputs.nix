# What a flake gives for the apps of its repository: the outputs of flakes that `nix build`, `nix run`, `nix develop` and
# `nix flake check` know (Nix manual, "nix flake check").
#
# Type: outputs :: { folder :: Path, mirrors, urls, change :: AttrSet } -> AttrSet
#
#   folder   has an image.<app>.nix for each app, as `builder render --write` writes them
#   mirrors  where Debian's archives are, by name; see default.nix
#   urls     sha256 -> URL, for files that are not where their lock says
#   change   app -> function of the library of the machine that builds, which returns what to change of the app's image:
#            arguments of its `override`
#
# Example:
#   outputs {
#     folder = ./.;
#     change.upscale = builder: { extraPaths = [ nixpkgs.legacyPackages.${builder.system}.ffmpeg ]; };
#   }
#   => { packages.x86_64-linux.upscale = «derivation»; apps = { ... }; devShells = { ... }; checks = { ... }; }
{ systems, library }:
{
  folder,
  mirrors ? { },
  urls ? { },
  change ? { },
}:
let
  inherit (import ./names.nix) machine;

  expressions = builtins.listToAttrs (
    builtins.concatMap (
      file:
      let
        found = builtins.match "image[.](.+)[.]nix" file;
      in
      if found == null then
        [ ]
      else
        [
          {
            name = builtins.head found;
            value = folder + "/${file}";
          }
        ]
    ) (builtins.attrNames (builtins.readDir folder))
  );
  unknown = builtins.filter (name: !(expressions ? ${name})) (builtins.attrNames change);
  checked =
    if expressions == { } then
      throw "there is no image.<app>.nix in the flake's folder. `builder render --write app.py::App` writes one; in a git repository, then: git add image.*.nix"
    else if unknown != [ ] then
      throw "change names ${builtins.head unknown}, and there is no image.${builtins.head unknown}.nix"
    else
      expressions;

  forEach =
    make:
    builtins.listToAttrs (
      map (system: {
        name = system;
        value = make (library {
          inherit system mirrors urls;
        });
      }) systems
    );
  imagesOf =
    builder:
    builtins.mapAttrs (
      name: file:
      let
        image = import file { inherit builder; };
      in
      if change ? ${name} then image.override (change.${name} builder) else image
    ) checked;
  # The only app is what a command without a name means.
  withDefault =
    set:
    let
      names = builtins.attrNames set;
    in
    if builtins.length names == 1 then set // { default = set.${builtins.head names}; } else set;
in
{
  packages = forEach (builder: withDefault (imagesOf builder));

  apps = forEach (
    builder:
    withDefault (
      builtins.mapAttrs (_: image: {
        type = "app";
        program = "${image.program}";
      }) (imagesOf builder)
    )
  );

  # A machine runs the Python of images of its own kind.
  devShells = forEach (
    builder:
    let
      images = imagesOf builder;
      own = builtins.filter (name: images.${name}.rootfs.architecture == machine builder.system) (
        builtins.attrNames images
      );
    in
    withDefault (
      builtins.listToAttrs (
        map (name: {
          inherit name;
          value = images.${name}.shell;
        }) own
      )
    )
  );

  checks = forEach imagesOf;
}
