"""Materials into files: one pure writer per format, all with the signature `write(records, sink) -> how many`.

Only materials.py knows the database. What each format says beside the arrays stands in record.py.
"""
