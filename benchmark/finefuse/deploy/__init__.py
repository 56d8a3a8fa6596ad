"""Files that outlive a run: graphs, weights and model cards."""
