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
    in
    {
      # What a rendered expression calls, for the machine that builds; see nix/default.nix for its arguments.
      lib = forEach (system: import ./nix { inherit system; });
    };
}
