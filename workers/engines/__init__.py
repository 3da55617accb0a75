"""Label engines: one file per engine, one Protocol (`base.Engine`), one conformance test for all."""
