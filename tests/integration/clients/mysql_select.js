// Both Node.js clients of MySQL: a query, a prepared one, a long value, an error, two results.
// Prints one JSON object per client.
const fs = require('fs');
const load = require('module').createRequire(require('path').join(__dirname, '..', 'node', 'package.json'));
const settings = {
  host: '127.0.0.1', port: Number(process.env.PORT), user: 'agent', password: process.env.TOKEN, database: 'app',
  ssl: {ca: fs.readFileSync(process.env.CA)},
};

async function rows(found) {
  return Array.isArray(found[0]) ? found[0] : found;
}

async function work(name, connection, execute) {
  const out = {client: name};
  out.query = (await rows(await connection.query(`select who as ${name}_marker from invoices where id = 3`)))[0];
  out.prepared = (await rows(await execute('select who from invoices where id = ?', [4])))[0].who;
  out.long = (await rows(await connection.query("select length(repeat('x', 17000000)) as n, repeat('x', 17000000) as v")))[0].v.length;
  try {
    await connection.query(`select * from missing_${name}`);
  } catch (failure) {
    out.error = [failure.errno, failure.sqlState];
  }
  const blob = Buffer.alloc(Number(process.env.BLOB || 1000), 'b');
  await execute('insert into bulk (line) values (?)', [blob]);
  out.blob = Number((await rows(await execute('select length(line) as n from bulk order by id desc limit 1', [])))[0].n);
  const two = await connection.query('call two()');
  out.two = (Array.isArray(two[0]) && !two[0][0].length ? two : two[0]).slice(0, 2).map((one) => Object.values(one[0])[0]);
  await connection.end();
  console.log(JSON.stringify(out));
}

async function main() {
  const mysql2 = load('mysql2/promise');
  const connection = await mysql2.createConnection({...settings, maxPreparedStatements: 10});
  await work('mysql2', connection, (sql, values) => connection.execute(sql, values));
  const mariadb = load('mariadb');
  const second = await mariadb.createConnection({...settings, maxAllowedPacket: 128 * 1024 * 1024});
  await work('nodemariadb', second, (sql, values) => second.execute(sql, values));
}

main().catch((failure) => { console.error(failure); process.exit(1); });
