// ldapts: a page at a time, a compare, every kind of change, a refusal.
const fs = require("fs");
const { Client, Change, Attribute, InsufficientAccessError } = require("ldapts");

const { PORT, CA, BASE, TOKEN, READER, WANTED, PEOPLE } = process.env;
const connect = () => new Client({
  url: `ldaps://127.0.0.1:${PORT}`, timeout: 20000, connectTimeout: 20000,
  tlsOptions: { ca: [fs.readFileSync(CA)] },
});
const attribute = (type, values) => new Attribute({ type, values });

async function main() {
  const client = connect();
  await client.bind("agent", TOKEN);
  const { searchEntries: found } = await client.search(BASE, { filter: WANTED, attributes: ["mail"] });
  const { searchEntries: pages } = await client.search(BASE, { filter: PEOPLE, attributes: ["1.1"], paged: { pageSize: 7 } });
  const dn = `ou=ldapts,${BASE}`;
  await client.add(dn, { objectClass: "organizationalUnit", description: "made" });
  await client.modify(dn, new Change({ operation: "replace", modification: attribute("description", ["changed"]) }));
  const compared = await client.compare(dn, "description", "changed");
  await client.modifyDN(dn, `ou=ldapts-2,${BASE}`);
  await client.del(`ou=ldapts-2,${BASE}`);
  await client.unbind();

  const reader = connect();
  await reader.bind("agent", READER);
  let refused = 0;
  try {
    await reader.del(found[0].dn);
  } catch (error) {
    refused = error instanceof InsufficientAccessError ? error.code : String(error);
  }
  await reader.unbind();
  console.log(JSON.stringify({ found: found.map((one) => one.mail), pages: pages.length,
    compared, refused }));
}

main().catch((error) => { console.error(error); process.exit(1); });
