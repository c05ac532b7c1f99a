# Names: of store paths, and of the same machine in Nix's, OCI's and Python's words.
{
  # Turns a file name into a legal store path name. builder/store.py does the same to the same names.
  #
  # Type: storeName :: String -> String
  #
  # Example:
  #   storeName "libc6_2.36-9+deb12u10~rc1_amd64.deb"
  #   => "libc6_2.36-9+deb12u10-rc1_amd64.deb"
  storeName =
    name:
    let
      legal = builtins.concatStringsSep "-" (
        builtins.filter builtins.isString (builtins.split "[^0-9A-Za-z+._?=-]" name)
      );
      shown = if builtins.substring 0 1 legal == "." then "-" + legal else legal;
      length = builtins.stringLength shown;
    in
    if length > 200 then builtins.substring (length - 200) 200 shown else shown;

  # A list of strings without repetitions, sorted.
  #
  # Type: unique :: [String] -> [String]
  unique =
    list:
    builtins.attrNames (
      builtins.listToAttrs (
        map (name: {
          inherit name;
          value = null;
        }) list
      )
    );

  # The name of the package in a deb, by the deb's derivation.
  #
  # Type: debName :: Derivation -> String
  debName = deb: builtins.head (builtins.split "_" deb.name);

  # The machine part of a Nix system.
  #
  # Type: machine :: String -> String
  #
  # Example:
  #   machine "aarch64-linux"
  #   => "aarch64"
  machine = system: builtins.head (builtins.split "-" system);

  # GOARCH names, which the OCI image specification uses.
  #
  # Type: ociArchitecture :: AttrSet
  ociArchitecture = {
    x86_64 = "amd64";
    aarch64 = "arm64";
  };
}
