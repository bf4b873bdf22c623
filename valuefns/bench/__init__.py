"""Value models under test: metrics of WVM and GVL against known truth."""
