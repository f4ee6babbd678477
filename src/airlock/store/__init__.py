"""Control data: tables, migrations, one module per aggregate."""
