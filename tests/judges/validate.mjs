// Structured data of HTML files by @adobe/structured-data-validator: node validate.mjs MODULES VOCABULARY FILE...
// Prints one JSON object: file -> list of issues.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [modules, vocabulary, ...files] = process.argv.slice(2);
const load = (path) => import(pathToFileURL(join(modules, path)).href);
const { default: Validator } = await load('@adobe/structured-data-validator/src/index.js');
const extraction = await load('@marbec/web-auto-extractor/dist/index.js');
const Extractor = extraction.default?.default ?? extraction.default;

const schema = JSON.parse(readFileSync(vocabulary, 'utf8'));
const issues = {};
for (const file of files) {
  const extracted = new Extractor({ addLocation: true, embedSource: ['rdfa', 'microdata'] }).parse(
    readFileSync(file, 'utf8'),
  );
  issues[file] = await new Validator(schema).validate(extracted);
}
process.stdout.write(JSON.stringify(issues));
