"""mergekit's merge methods as fusions of finefuse."""
