"""The generated kernel modules, one for each instruction set; made by `make kernels`, never edited."""
