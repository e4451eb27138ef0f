// Classifies texts with transformers.js: node classify.mjs ROOT NAME DTYPE TEXT ...
import { env, pipeline } from "@huggingface/transformers";
const [root, name, dtype, ...texts] = process.argv.slice(2);
env.allowRemoteModels = false;
env.localModelPath = root;
const classify = await pipeline("text-classification", name, { dtype });
console.log(JSON.stringify(await classify(texts, { top_k: null })));
