"""The only doors to the file system and to untrusted bytes.

`source` reads, `cursor` parses, `strict_json` parses JSON, `folder` keeps names inside a model
folder, `atomic` writes. No other module of hub or of its plugins opens a file; a test reads the
source to make sure.
"""
