// node-pg through the bridge: login by token, parameters, a named statement, an error, a transaction.
const { Client } = require("pg");
const fs = require("fs");

async function main() {
  const client = new Client({
    host: "localhost", port: Number(process.env.PORT), user: "agent", database: "app",
    password: async () => process.env.TOKEN, ssl: { ca: fs.readFileSync(process.env.CA, "utf8") },
  });
  await client.connect();
  console.log((await client.query("select who from invoices where id = $1", [3])).rows[0].who);
  const named = { name: "one", text: "select who from invoices where id = $1" };
  console.log((await client.query({ ...named, values: [4] })).rows[0].who);
  console.log((await client.query({ ...named, values: [5] })).rows[0].who);
  await client.query("select * from missing_node").catch((error) => console.log("error " + error.code));
  await client.query("begin");
  await client.query("insert into t values (7002, 'node')");
  await client.query("rollback");
  console.log("rolled back " + (await client.query("select count(*)::int as n from t where id = 7002")).rows[0].n);
  await client.end();
}

main().catch((error) => { console.error(error); process.exit(1); });
