{
  description = "Images of this repository's apps";

  # What makes images of the expressions. It and the builder command go together: after an upgrade of one, upgrade the
  # other (nix flake update) and render anew (builder render --write).
  inputs.builder.url = "flake:builder";

  outputs =
    { self, builder }:
    builder.lib.outputs {
      # Each image.<app>.nix here becomes packages.<app>, with an app, a shell and a check of that name.
      folder = ./.;

      # What to change of an app's image: packages of nixpkgs, another wheel, deb or layer; docs/flake.md of builder.
      change = { };
    };
}
