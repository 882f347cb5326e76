"""Other people's names for what fastattn has: their code runs on its kernels when its import lines are changed."""
