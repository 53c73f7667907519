import java.util.*;
import javax.naming.*;
import javax.naming.directory.*;
import javax.naming.ldap.*;

/** JNDI: pages, a compare, every kind of change; PLAIN, and a refusal. It sends ManageDsaIT with every request. */
public class LdapNaming {
    static final String BASE = System.getenv("BASE");

    static LdapContext connect(String how, String name, String token) throws NamingException {
        Hashtable<String, String> settings = new Hashtable<>();
        settings.put(Context.INITIAL_CONTEXT_FACTORY, "com.sun.jndi.ldap.LdapCtxFactory");
        settings.put(Context.PROVIDER_URL, "ldaps://127.0.0.1:" + System.getenv("PORT"));
        settings.put(Context.SECURITY_AUTHENTICATION, how);
        settings.put(Context.SECURITY_PRINCIPAL, name);
        settings.put(Context.SECURITY_CREDENTIALS, token);
        settings.put("com.sun.jndi.ldap.read.timeout", "20000");
        return new InitialLdapContext(settings, null);
    }

    static SearchControls controls(String... attributes) {
        return new SearchControls(SearchControls.SUBTREE_SCOPE, 0, 0, attributes, false, false);
    }

    static int pages(LdapContext context) throws Exception {
        int number = 0;
        byte[] cookie = null;
        do {
            context.setRequestControls(new Control[] {new PagedResultsControl(7, cookie, Control.CRITICAL)});
            NamingEnumeration<SearchResult> found = context.search(BASE, System.getenv("PEOPLE"), controls("1.1"));
            for (; found.hasMore(); found.next()) {
                number++;
            }
            cookie = null;
            for (Control control : context.getResponseControls()) {
                if (control instanceof PagedResultsResponseControl) {
                    cookie = ((PagedResultsResponseControl) control).getCookie();
                }
            }
        } while (cookie != null);
        context.setRequestControls(null);
        return number;
    }

    static boolean compare(LdapContext context, String name) throws NamingException {
        SearchControls one = new SearchControls(SearchControls.OBJECT_SCOPE, 0, 0, new String[0], false, false);
        return context.search(name, "(description={0})", new Object[] {"changed"}, one).hasMore();
    }

    public static void main(String[] arguments) throws Exception {
        LdapContext context = connect("simple", "agent", System.getenv("TOKEN"));
        SearchResult found = context.search(BASE, System.getenv("WANTED"), controls("mail")).next();
        String mail = (String) found.getAttributes().get("mail").get();
        String name = "ou=jndi," + BASE;
        Attributes made = new BasicAttributes("objectClass", "organizationalUnit", true);
        made.put("description", "made");
        context.createSubcontext(name, made);
        Attributes changed = new BasicAttributes("description", "changed", true);
        context.modifyAttributes(name, DirContext.REPLACE_ATTRIBUTE, changed);
        boolean compared = compare(context, name);
        context.rename(name, "ou=jndi-2," + BASE);
        context.destroySubcontext("ou=jndi-2," + BASE);
        int number = pages(context);
        context.close();

        LdapContext reader = connect("PLAIN", System.getenv("READER_ID"), System.getenv("READER"));
        int refused = 0;
        try {
            reader.destroySubcontext(found.getNameInNamespace());
        } catch (NoPermissionException failure) {
            refused = failure.getMessage().contains("error code 50") ? 50 : -1;
        }
        reader.close();
        System.out.println("{\"found\": [\"" + mail + "\"], \"pages\": " + number + ", \"compared\": " + compared
            + ", \"refused\": " + refused + "}");
    }
}
