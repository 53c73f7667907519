import java.sql.*;

/** MariaDB Connector/J: a query, server-side prepared statements in a batch, an error, two results. */
public class MariaSelect {
    public static void main(String[] arguments) throws Exception {
        String url = "jdbc:mariadb://127.0.0.1:" + System.getenv("PORT") + "/app?useSsl=true&useServerPrepStmts=true"
            + "&serverSslCert=" + System.getenv("CA");
        try (Connection connection = DriverManager.getConnection(url, "agent", System.getenv("TOKEN"))) {
            try (Statement statement = connection.createStatement()) {
                ResultSet rows = statement.executeQuery("select who as jdbc_marker from invoices where id = 3");
                rows.next();
                System.out.println(rows.getString(1));
                rows = statement.executeQuery("select repeat('x', 17000000)");
                rows.next();
                System.out.println(rows.getString(1).length());
                try {
                    statement.executeQuery("select * from missing_jdbc");
                } catch (SQLException failure) {
                    System.out.println(failure.getErrorCode() + " " + failure.getSQLState());
                }
            }
            connection.setAutoCommit(false);
            try (PreparedStatement insert = connection.prepareStatement("insert into words (word) values (?)")) {
                for (int i = 0; i < 50; i++) {
                    insert.setString(1, "batch " + i);
                    insert.addBatch();
                }
                System.out.println(insert.executeBatch().length);
            }
            connection.rollback();
            try (CallableStatement call = connection.prepareCall("{call two()}")) {
                boolean more = call.execute();
                while (more) {
                    ResultSet rows = call.getResultSet();
                    rows.next();
                    System.out.println(rows.getInt(1));
                    more = call.getMoreResults();
                }
            }
        }
    }
}
