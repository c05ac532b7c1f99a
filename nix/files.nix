# Some files of a folder, such as an app's own out of its repository.
let
  # The folders that a path lies in: "a" and "a/b" of "a/b/c".
  #
  # Type: parents :: String -> [String]
  parents =
    path:
    let
      parts = builtins.filter builtins.isString (builtins.split "/" path);
      upTo = length: builtins.concatStringsSep "/" (builtins.genList (builtins.elemAt parts) length);
    in
    builtins.genList (index: upTo (index + 1)) (builtins.length parts - 1);

  # Type: set :: [String] -> AttrSet
  set =
    list:
    builtins.listToAttrs (
      map (name: {
        inherit name;
        value = name;
      }) list
    );
in
{
  # Files and links of a folder, by their names in it: a path that holds them and nothing else, so that a change of what
  # lies beside them changes nothing. Those in `placed` lie elsewhere in what they are for (place -> name in the folder),
  # and `links` are symbolic links that the folder does not have as they are (place -> what the link says).
  #
  # Type: files :: { name :: String, root :: Path, names :: [String], placed, links :: AttrSet } -> StorePath or AttrSet
  #
  # Example:
  #   files { name = "app"; root = ./.; names = [ "app.py" "lib/image.py" ]; }
  #   => "/nix/store/...-app"
  files =
    {
      name,
      root,
      names,
      placed ? { },
      links ? { },
    }:
    let
      wanted = names ++ builtins.attrValues placed;
      missing = builtins.filter (file: !(builtins.pathExists (root + "/${file}"))) wanted;
      kept = set wanted // set (builtins.concatLists (map parents wanted));
      from = builtins.stringLength (toString root) + 1;
      folder = builtins.path {
        inherit name;
        path = root;
        filter = path: _: kept ? ${builtins.substring from (-1) path};
      };
    in
    if missing != [ ] then
      throw "${builtins.head missing} is a file of ${name}, and is not there. A flake in a git repository has the files that git knows: git add ${builtins.head missing}. If it was removed: builder render --write"
    else if placed == { } && links == { } then
      folder
    else
      {
        root = folder;
        placed = set names // placed;
        inherit links;
      };
}
