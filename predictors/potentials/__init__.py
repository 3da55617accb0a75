"""Pretrained potentials as predictors: one file per potential, one Protocol (`base.Potential`), one test for all."""
