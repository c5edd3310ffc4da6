/* Work with libxml2: a document is parsed, searched, changed, written and read again, as a tree, by events and by a reader. */
#include <libxml/SAX2.h>
#include <libxml/parser.h>
#include <libxml/tree.h>
#include <libxml/xmlreader.h>
#include <libxml/xpath.h>

#include "stray.h"

#define BOOKS 400

static xmlChar *written;
static int written_len;

static void build(void)
{
	xmlDocPtr doc = xmlNewDoc(BAD_CAST "1.0");
	xmlNodePtr root = xmlNewNode(NULL, BAD_CAST "shelves");
	char text[64];
	xmlDocSetRootElement(doc, root);
	for (int i = 0; i < BOOKS; i++) {
		xmlNodePtr book = xmlNewChild(root, NULL, BAD_CAST "book", NULL);
		snprintf(text, sizeof text, "%d", i);
		xmlNewProp(book, BAD_CAST "id", BAD_CAST text);
		snprintf(text, sizeof text, "Title & more <%d>", i);
		xmlNewTextChild(book, NULL, BAD_CAST "title", BAD_CAST text);
		snprintf(text, sizeof text, "%d", 100 + i % 7);
		xmlNewChild(book, NULL, BAD_CAST "price", BAD_CAST text);
	}
	xmlDocDumpFormatMemoryEnc(doc, &written, &written_len, "UTF-8", 1);
	xmlFreeDoc(doc);
}

static double number(xmlDocPtr doc, const char *expression)
{
	xmlXPathContextPtr context = xmlXPathNewContext(doc);
	xmlXPathObjectPtr object = xmlXPathEvalExpression(BAD_CAST expression, context);
	double value = object ? object->floatval : -1;
	xmlXPathFreeObject(object);
	xmlXPathFreeContext(context);
	return value;
}

static int starts, letters;

static void start_element(void *user, const xmlChar *name, const xmlChar **attributes)
{
	(void)user, (void)name, (void)attributes;
	starts++;
}

static void characters(void *user, const xmlChar *text, int len)
{
	(void)user, (void)text;
	letters += len;
}

static void by_events(void)
{
	xmlSAXHandler handler = { 0 };
	handler.startElement = start_element;
	handler.characters = characters;
	xmlSAXUserParseMemory(&handler, NULL, (const char *)written, written_len);
}

static int by_reader(void)
{
	xmlTextReaderPtr reader = xmlReaderForMemory((const char *)written, written_len, NULL, NULL, 0);
	int titles = 0;
	while (xmlTextReaderRead(reader) == 1) {
		const xmlChar *name = xmlTextReaderConstName(reader);
		if (xmlTextReaderNodeType(reader) == 1 && xmlStrEqual(name, BAD_CAST "title"))
			titles++;
	}
	xmlFreeTextReader(reader);
	return titles;
}

static void change(xmlDocPtr doc)
{
	for (xmlNodePtr book = xmlFirstElementChild(xmlDocGetRootElement(doc)); book;
	     book = xmlNextElementSibling(book)) {
		xmlChar *id = xmlGetProp(book, BAD_CAST "id");
		if (atoi((const char *)id) % 3 == 0)
			xmlNodeSetContent(xmlLastElementChild(book), BAD_CAST "1000");
		xmlFree(id);
	}
}

static void *in_thread(void *titles)
{
	*(int *)titles = by_reader();
	return NULL;
}

int main(int argc, char **argv)
{
	xmlDocPtr doc;
	xmlChar *text;
	pthread_t thread;
	int len, titles, titles_in_thread;
	LIBXML_TEST_VERSION
	build();
	doc = xmlReadMemory((const char *)written, written_len, "shelves.xml", NULL, 0);
	printf("books %.0f, price %.0f\n", number(doc, "count(//book)"), number(doc, "sum(//price)"));
	change(doc);
	printf("dear %.0f, price %.0f\n", number(doc, "count(//book[price=1000])"),
	       number(doc, "sum(//price)"));
	by_events();
	titles = by_reader();
	pthread_create(&thread, NULL, in_thread, &titles_in_thread);
	pthread_join(thread, NULL);
	printf("elements %d, letters %d, titles %d and %d\n", starts, letters, titles, titles_in_thread);
	if (xmlReadMemory("<a><b></a>", 10, "bad.xml", NULL, XML_PARSE_NOERROR | XML_PARSE_NOWARNING))
		abort();
	xmlDocDumpMemory(doc, &text, &len);
	printf("written %d bytes, then %d\n", written_len, len);
	xmlFree(text);
	xmlFree(written);
	if (argc > 1)
		stray_from(argv[1], doc);
	xmlFreeDoc(doc);
	xmlCleanupParser();
	return 0;
}
