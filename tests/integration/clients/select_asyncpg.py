"""asyncpg through the bridge: login by token, parameters, a prepared statement, an error, a transaction, pipelining."""

# ruff: noqa: T201  what it prints is what the test reads

import asyncio
import os
import ssl

import asyncpg


async def main() -> None:
    context = ssl.create_default_context(cafile=os.environ["CA"])

    async def token() -> str:
        return os.environ["TOKEN"]

    connection = await asyncpg.connect(
        host="localhost", port=int(os.environ["PORT"]), user="agent", database="app", password=token, ssl=context
    )
    print(await connection.fetchval("select who from invoices where id = $1", 3))
    statement = await connection.prepare("select who from invoices where id = $1")
    print(await statement.fetchval(4), await statement.fetchval(5), sep="\n")
    try:
        await connection.fetch("select * from missing_asyncpg")
    except asyncpg.PostgresError as error:
        print("error", error.sqlstate)
    try:
        async with connection.transaction():
            await connection.execute("insert into t values (7003, 'asyncpg')")
            raise KeyError
    except KeyError:
        pass
    print("rolled back", await connection.fetchval("select count(*) from t where id = 7003"))
    rows = await connection.copy_records_to_table("bulk", records=[(f"asyncpg {i}",) for i in range(1000)])
    print(rows)
    await connection.close()


asyncio.run(main())
