// ldapts with a client certificate: EXTERNAL, and who that is.
const fs = require("fs");
const { Client } = require("ldapts");

async function main() {
  const { PORT, CA, CERTIFICATE, KEY } = process.env;
  const [ca, cert, key] = [CA, CERTIFICATE, KEY].map((name) => fs.readFileSync(name));
  const client = new Client({ url: `ldaps://127.0.0.1:${PORT}`, timeout: 20000, tlsOptions: { ca: [ca], cert, key } });
  await client.bind("EXTERNAL");
  const { value } = await client.exop("1.3.6.1.4.1.4203.1.11.3");
  console.log(value);
  await client.unbind();
}

main().catch((error) => { console.error(error); process.exit(1); });
