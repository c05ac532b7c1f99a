"""Folders of this machine whose files come along: the app's own, and local projects that it requires.

`walk` finds files, held back by rules (`gitignore`, `dockerignore`, `credential_files`); `tree` settles what its
symbolic links become and copies; `modules` finds where a module's files are.
"""
