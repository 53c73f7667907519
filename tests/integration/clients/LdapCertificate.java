import java.util.*;
import javax.naming.*;
import javax.naming.ldap.*;

/** JNDI with a client certificate: EXTERNAL, and who that is. */
public class LdapCertificate {
    static class WhoAmI implements ExtendedRequest, ExtendedResponse {
        byte[] value = new byte[0];

        public String getID() {
            return "1.3.6.1.4.1.4203.1.11.3";
        }

        public byte[] getEncodedValue() {
            return null;
        }

        public ExtendedResponse createExtendedResponse(String id, byte[] berValue, int offset, int length) {
            value = Arrays.copyOfRange(berValue, offset, offset + length);
            return this;
        }
    }

    public static void main(String[] arguments) throws Exception {
        Hashtable<String, String> settings = new Hashtable<>();
        settings.put(Context.INITIAL_CONTEXT_FACTORY, "com.sun.jndi.ldap.LdapCtxFactory");
        settings.put(Context.PROVIDER_URL, "ldaps://127.0.0.1:" + System.getenv("PORT"));
        settings.put(Context.SECURITY_AUTHENTICATION, "EXTERNAL");
        LdapContext context = new InitialLdapContext(settings, null);
        WhoAmI who = new WhoAmI();
        context.extendedOperation(who);
        System.out.println(new String(who.value).replaceAll(".*u:", "u:"));
        context.close();
    }
}
