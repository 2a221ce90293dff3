"""Reading the API's JSON and YAML into the model; selectors and near misses."""
