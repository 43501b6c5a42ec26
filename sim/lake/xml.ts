/** Writing and reading the service's XML. */
import { XMLParser } from "fast-xml-parser";
import { simError } from "./errors.ts";

/** `text` fit to stand in an element. */
export function escapeXml(text: string): string {
  return text.replace(/[&<>"]/g, (c) => (c === "&" ? "&amp;" : c === "<" ? "&lt;" : c === ">" ? "&gt;" : "&quot;"));
}

/** `<name>text</name>`, or nothing when there is no text to tell. */
export function element(name: string, text: string | undefined): string {
  return text === undefined ? "" : `<${name}>${escapeXml(text)}</${name}>`;
}

const DECLARATION = '\uFEFF<?xml version="1.0" encoding="utf-8"?>';

export function xmlDocument(inner: string): Uint8Array {
  return new TextEncoder().encode(DECLARATION + inner);
}

/** The service's error document. */
export function errorDocument(code: string, message: string, requestId: string, nowMs: number): Uint8Array {
  const text = `${message}\nRequestId:${requestId}\nTime:${new Date(nowMs).toISOString()}`;
  return xmlDocument(`<Error>${element("Code", code)}${element("Message", text)}</Error>`);
}

/** One element of a parsed document, in order. */
export interface XmlNode {
  readonly name: string;
  readonly text: string;
  readonly children: readonly XmlNode[];
}

const parser = new XMLParser({ preserveOrder: true, parseTagValue: false, ignoreDeclaration: true, trimValues: false });

/** The root of a document. Throws InvalidXmlDocument. */
export function parseXml(body: Uint8Array): XmlNode {
  let parsed: unknown;
  try {
    parsed = parser.parse(new TextDecoder().decode(body), true);
  } catch {
    throw simError("InvalidXmlDocument");
  }
  const [root] = nodesOf(parsed);
  if (root === undefined) throw simError("InvalidXmlDocument");
  return root;
}

/** The text of a child, or empty. */
export function childText(node: XmlNode, ...path: string[]): string {
  let at: XmlNode | undefined = node;
  for (const name of path) at = at?.children.find((child) => child.name === name);
  return at?.text ?? "";
}

function nodesOf(items: unknown): XmlNode[] {
  if (!Array.isArray(items)) return [];
  const nodes: XmlNode[] = [];
  for (const item of items) {
    const [entry] = Object.entries(Object(item)).filter(([name]) => name !== ":@" && name !== "#text");
    if (entry === undefined) continue;
    const [name, inner] = entry;
    nodes.push({ name, text: textOf(inner), children: nodesOf(inner) });
  }
  return nodes;
}

function textOf(items: unknown): string {
  if (!Array.isArray(items)) return "";
  return items.map((item) => String(Object(item)["#text"] ?? "")).join("");
}
