"""One run of a model, recorded: nodes, storages, lifetimes, source lines, holders."""
