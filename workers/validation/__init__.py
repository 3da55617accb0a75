"""How far what was found agrees with what is known. Pure: no database in it."""
