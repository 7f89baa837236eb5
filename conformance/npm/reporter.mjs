// Tells each test's outcome as a line of JSON; see src/clients/lines.rs.

/** What a failed test said, with the reason inside the runner's wrapper. */
function text(error) {
  const cause = error?.cause ?? error;
  return String(cause?.stack ?? cause ?? '').slice(0, 2000);
}

export default async function* reporter(events) {
  for await (const { type, data } of events) {
    const passed = type === 'test:pass';
    if (!passed && type !== 'test:fail') continue;
    // A file is a test too; its failure matters only where it has no tests of its own.
    if (passed && data.name.endsWith('.mjs')) continue;
    const outcome = data.skip === undefined ? (passed ? 'passed' : 'failed') : 'skipped';
    const line = { test: data.name, outcome, text: text(data.details?.error) };
    yield `${JSON.stringify(line)}\n`;
  }
}
