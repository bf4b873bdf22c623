"""Labels of a store written for other programs: columns of a LeRobotDataset, and files that lie beside one."""
