"""Reports: a TOML file names models, and a folder with a page, tables and figures comes out."""
