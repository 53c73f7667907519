"""SQLAlchemy on the driver that the first argument names, as programs use it. Prints one JSON object."""

import json
import os
import sys

import sqlalchemy as sa
from sqlalchemy.exc import ProgrammingError

DRIVER = sys.argv[1]
OPTIONS = {
    "pymysql": {"ssl_ca": os.environ["CA"]},
    "mysqldb": {"ssl_ca": os.environ["CA"]},
    "mysqlconnector": {"ssl_ca": os.environ["CA"], "ssl_verify_cert": "true"},
}

url = sa.URL.create(
    f"mysql+{DRIVER}", "agent", os.environ["TOKEN"], "127.0.0.1", int(os.environ["PORT"]), "app", OPTIONS[DRIVER]
)
engine = sa.create_engine(url, pool_pre_ping=True)
words = sa.Table("words", sa.MetaData(), sa.Column("word", sa.String(60)))
with engine.begin() as connection:
    query = sa.text(f"select who as sqlalchemy_{DRIVER}_marker from invoices where id = :id")
    query_answer = connection.execute(query, {"id": 3}).scalar()
    connection.execute(words.insert(), [{"word": f"{DRIVER} ü"}, {"word": f"{DRIVER} 2"}])
    connection.rollback()
with engine.connect() as connection:
    kept = connection.execute(sa.select(sa.func.count()).where(words.c.word.like(f"{DRIVER}%"))).scalar()
    tables = sa.inspect(connection).get_table_names()
    try:
        connection.execute(sa.text(f"select * from missing_sqlalchemy_{DRIVER}"))
        code = 0
    except ProgrammingError as error:
        code = error.orig.args[0]
engine.dispose()
mariadb = engine.dialect.is_mariadb
out = {"query": query_answer, "kept": kept, "tables": tables, "error": code, "mariadb": mariadb}
sys.stdout.write(json.dumps(out) + "\n")
