{
  description = "Reproducible, GPU-checked OCI images for Python ML apps";

  # No input: nothing here needs nixpkgs, or the network.
  outputs =
    { self }:
    let
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      forEach =
        make:
        builtins.listToAttrs (
          map (system: {
            name = system;
            value = make system;
          }) systems
        );
      library = import ./nix;
    in
    {
      # What a rendered expression calls, for the machine that builds: see nix/default.nix for its arguments. `outputs`
      # makes the outputs of a flake that builds apps: see nix/outputs.nix.
      lib = forEach (system: library { inherit system; }) // {
        outputs = import ./nix/outputs.nix { inherit systems library; };
      };

      templates.default = {
        path = ./templates/starter;
        description = "An app, and a flake that builds its image";
      };

      checks = forEach (system: import ./nix/checks.nix { inherit system library; });
    };
}
