import java.sql.*;

/** MySQL's Connector/J: a query, a server-side prepared one, an error, a query that its timeout kills. */
public class ConnectorJ {
    public static void main(String[] arguments) throws Exception {
        String url = "jdbc:mysql://127.0.0.1:" + System.getenv("PORT") + "/app?sslMode=VERIFY_CA&useServerPrepStmts=true"
            + "&trustCertificateKeyStoreType=PKCS12&trustCertificateKeyStorePassword=changeit"
            + "&trustCertificateKeyStoreUrl=file:" + System.getenv("TRUSTED");
        try (Connection connection = DriverManager.getConnection(url, "agent", System.getenv("TOKEN"))) {
            try (Statement statement = connection.createStatement()) {
                ResultSet rows = statement.executeQuery("select who as connectorj_marker from invoices where id = 3");
                rows.next();
                System.out.println(rows.getString(1));
                try {
                    statement.executeQuery("select * from missing_connectorj");
                } catch (SQLException failure) {
                    System.out.println(failure.getErrorCode() + " " + failure.getSQLState());
                }
                statement.setQueryTimeout(1);
                try {
                    statement.executeQuery("select sleep(20)");
                } catch (SQLTimeoutException late) {
                    System.out.println("timeout");
                }
            }
            try (PreparedStatement statement = connection.prepareStatement("select who from invoices where id = ?")) {
                statement.setInt(1, 4);
                ResultSet rows = statement.executeQuery();
                rows.next();
                System.out.println(rows.getString(1));
            }
        }
    }
}
