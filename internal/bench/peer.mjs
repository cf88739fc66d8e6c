// A plain client that does less than the mediator: no checks, no strict answer, no gzip on the way out.
const [cht, dhis2] = process.argv.slice(2);
const from = Date.UTC(2026, 8, 15, 12);
const answer = await fetch(`${cht}/api/v2/export/dhis?filters[dataSet]=DsBench0001&filters[date][from]=${from}`, { headers: { Accept: 'application/json' } });
const month = JSON.parse(await answer.text());
const groups = new Map();
for (const v of month.dataValues) {
  if (!groups.has(v.orgUnit)) groups.set(v.orgUnit, []);
  groups.get(v.orgUnit).push({ dataElement: v.dataElement, orgUnit: v.orgUnit, value: String(v.value) });
}
async function send(dataValues) {
  const response = await fetch(`${dhis2}/api/dataValueSets`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ dataSet: month.dataSet, period: month.period, dataValues }),
  });
  const summary = await response.json();
  if (summary.status !== 'OK') throw new Error(JSON.stringify(summary));
}
let batch = [];
for (const values of groups.values()) {
  batch = batch.concat(values);
  if (batch.length >= 2000) {
    await send(batch);
    batch = [];
  }
}
if (batch.length > 0) await send(batch);
