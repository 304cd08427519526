// Exit code 0 when a URL answers 200 within two seconds: `node healthy.mjs URL`.
const [url] = process.argv.slice(2);
const response = await fetch(url, { signal: AbortSignal.timeout(2_000) }).catch((error) => error);
if (response.status !== 200) {
  console.error(`${url}: ${response.status ?? response}`);
  process.exit(1);
}
