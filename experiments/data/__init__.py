"""What the commands on data sets do: options of an import, labels of a store, data sets by quality."""
