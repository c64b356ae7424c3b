"""The command line: `vibee train`, `infer`, `bench`, `compile`, `check`."""
